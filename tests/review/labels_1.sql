-- labels.duckdb as version 1 of the form made it; for the test of the migration.
CREATE TABLE schema_version (name VARCHAR NOT NULL, version INTEGER NOT NULL);
INSERT INTO schema_version VALUES ('corpus.labels', 1);

CREATE TABLE reviews (
    sequence BIGINT NOT NULL,
    id VARCHAR PRIMARY KEY,
    recording_id VARCHAR NOT NULL,
    item VARCHAR NOT NULL,
    about VARCHAR,
    verdict VARCHAR NOT NULL,
    annotator VARCHAR NOT NULL,
    role VARCHAR NOT NULL,
    draw VARCHAR NOT NULL,
    label VARCHAR,
    kind VARCHAR,
    speaker VARCHAR,
    start_us BIGINT,
    stop_us BIGINT,
    text VARCHAR,
    note VARCHAR NOT NULL,
    client_at_us BIGINT NOT NULL,
    decided_at_us BIGINT NOT NULL,
    spent_ms BIGINT NOT NULL,
    undoes VARCHAR NOT NULL,
    review JSON NOT NULL
);
COMMENT ON TABLE reviews IS 'One decision a row, in the order of sequence; the latest of an annotator on an item counts.';
COMMENT ON COLUMN reviews.id IS 'Made by the client: a decision sent twice is one row.';
COMMENT ON COLUMN reviews.label IS 'Label, kind, speaker, span and text are those the item should have; of a rejection, those it had.';
COMMENT ON COLUMN reviews.review IS 'The whole corpus.review/2, which the other columns are taken from.';
COMMENT ON COLUMN reviews.undoes IS 'Of an undo: the id it takes back.';

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
