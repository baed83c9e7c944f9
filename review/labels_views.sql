-- Views of labels.duckdb. `dataset` is the catalog of the last build, which has to be attached under this name:
-- ATTACH 'catalog.duckdb' AS dataset (READ_ONLY). Changing one needs a new version and a migration.

CREATE VIEW reviews_current AS
SELECT * FROM reviews r
WHERE verdict <> 'undo'
    AND NOT EXISTS (
        SELECT 1 FROM reviews u WHERE u.verdict = 'undo' AND u.undoes = r.id AND u.annotator = r.annotator
    )
QUALIFY row_number() OVER (
    PARTITION BY recording_id, about, item, annotator, role ORDER BY sequence DESC
) = 1;
COMMENT ON VIEW reviews_current IS 'Each annotator''s latest decision on each item, without undone ones.';

CREATE VIEW disagreements AS
WITH said AS (
    SELECT *, CASE WHEN verdict <> 'reject' THEN {'label': label, 'kind': kind, 'speaker': speaker, 'text': text} END
        AS outcome
    FROM reviews_current WHERE role = 'annotation' AND verdict <> 'unsure'
)
SELECT recording_id, about, item, count(DISTINCT annotator) AS annotators,
    list({'annotator': annotator, 'verdict': verdict, 'label': label, 'kind': kind, 'start_us': start_us,
        'stop_us': stop_us, 'text': text} ORDER BY annotator) AS said
FROM said
WHERE (recording_id, item) NOT IN (
    SELECT (recording_id, item) FROM reviews_current WHERE role = 'adjudication'
)
GROUP BY recording_id, about, item
HAVING count(DISTINCT coalesce(outcome::VARCHAR, 'nothing')) > 1;
COMMENT ON VIEW disagreements IS 'Items on which annotators differ and nobody has ruled.';

CREATE VIEW cues_decided AS
WITH ballots AS (
    SELECT *, role = 'adjudication' AS ruled,
        CASE WHEN verdict <> 'reject' THEN {'label': label, 'kind': kind, 'speaker': speaker} END AS outcome
    FROM reviews_current
    WHERE about = 'cue' AND verdict <> 'unsure'
    QUALIFY NOT ruled OR row_number() OVER (PARTITION BY recording_id, item, ruled ORDER BY sequence DESC) = 1
), counted AS (
    SELECT recording_id, item, ruled, outcome, count(*) AS votes, sum(count(*)) OVER same AS cast_votes,
        count(*) OVER (PARTITION BY recording_id, item, ruled, votes) > 1 AS tied,
        list(annotator ORDER BY annotator) AS annotators, max(sequence) AS last,
        floor(median(start_us))::BIGINT AS start_us, floor(median(stop_us))::BIGINT AS stop_us
    FROM ballots
    GROUP BY recording_id, item, ruled, outcome
    WINDOW same AS (PARTITION BY recording_id, item, ruled)
), best AS (
    SELECT * FROM counted
    QUALIFY row_number() OVER (PARTITION BY recording_id, item ORDER BY ruled DESC, votes DESC) = 1
)
SELECT recording_id, item AS cue_id,
    CASE WHEN tied THEN 'tie' WHEN outcome IS NULL THEN 'rejected' ELSE 'stands' END AS state,
    outcome.label AS label, outcome.kind AS kind, outcome.speaker AS speaker, start_us, stop_us,
    annotators, votes / cast_votes AS share, ruled
FROM best;
COMMENT ON VIEW cues_decided IS 'What the decisions on each cue come to: a ruling, else the most votes, times their medians. By item: a build also finds cues that have moved.';

CREATE VIEW cues_current AS
SELECT c.recording_id, c.cue_id,
    CASE WHEN d.state = 'stands' THEN d.label ELSE c.label::VARCHAR END AS label,
    CASE WHEN d.state = 'stands' THEN d.kind ELSE c.kind END AS kind,
    CASE WHEN d.state = 'stands' THEN d.speaker ELSE c.speaker END AS speaker,
    CASE WHEN d.state = 'stands' THEN d.start_us ELSE c.start_us END AS start_us,
    CASE WHEN d.state = 'stands' THEN d.stop_us ELSE c.stop_us END AS stop_us,
    CASE WHEN d.state = 'stands' THEN d.share ELSE c.confidence END AS confidence,
    CASE WHEN d.state = 'stands' THEN 'human:' || array_to_string(d.annotators, ',') ELSE c.origin END AS origin,
    coalesce(d.state, 'open') AS state
FROM dataset.cues c LEFT JOIN cues_decided d USING (recording_id, cue_id)
WHERE d.state IS DISTINCT FROM 'rejected'
UNION ALL
SELECT d.recording_id, d.cue_id, d.label, d.kind, d.speaker, d.start_us, d.stop_us, d.share,
    'human:' || array_to_string(d.annotators, ','), 'added'
FROM cues_decided d ANTI JOIN dataset.cues c USING (recording_id, cue_id)
WHERE d.state = 'stands';
COMMENT ON VIEW cues_current IS 'The cues of the last build with what people decided since: state open, stands, tie or added; rejected ones are left out.';

CREATE VIEW queue AS
SELECT c.recording_id, c.cue_id, c.label::VARCHAR AS label, c.kind, c.speaker, c.start_us, c.stop_us, c.confidence,
    abs(c.confidence - 0.5) AS doubt, count(DISTINCT r.annotator) AS annotators
FROM dataset.cues c LEFT JOIN reviews_current r
    ON r.recording_id = c.recording_id AND r.item = c.cue_id AND r.about = 'cue'
WHERE NOT starts_with(c.origin, 'human:')
GROUP BY ALL
ORDER BY annotators, doubt, c.recording_id, c.start_us, c.cue_id;
COMMENT ON VIEW queue IS 'Cues that machines made, with how many annotators have decided on each; those that nobody has, and the least certain of these, first.';
