-- The tables of OUT/catalog.duckdb. Times are microseconds on the recording's clock, spans half open.
CREATE TYPE split AS ENUM ('train', 'validation', 'test');
CREATE TYPE cue_label AS ENUM (
    'hesitation', 'self_correction', 'yield', 'hold', 'invitation', 'backchannel', 'interruption',
    'thinking', 'overlap', 'visual'
);
CREATE TYPE word_timing AS ENUM ('measured', 'interpolated', 'unknown');
CREATE TYPE drop_kind AS ENUM ('trim', 'fault');

CREATE TABLE schema_version (version INTEGER NOT NULL);
INSERT INTO schema_version VALUES (1);

CREATE TABLE recordings (
    recording_id VARCHAR NOT NULL, uri VARCHAR NOT NULL, split split, duration_us BIGINT NOT NULL,
    bytes BIGINT NOT NULL, licence VARCHAR, consent VARCHAR, conversation VARCHAR,
    speakers VARCHAR[] NOT NULL, named_speakers VARCHAR[] NOT NULL, sidecars VARCHAR[] NOT NULL
);
CREATE TABLE streams (
    recording_id VARCHAR NOT NULL, stream_id INTEGER NOT NULL, file_uri VARCHAR NOT NULL,
    file_index INTEGER NOT NULL, kind VARCHAR NOT NULL CHECK (kind IN ('audio', 'video')), codec VARCHAR NOT NULL,
    rate VARCHAR NOT NULL, offset_us BIGINT NOT NULL, duration_us BIGINT NOT NULL, channels INTEGER NOT NULL,
    width INTEGER NOT NULL, height INTEGER NOT NULL, rotation_degrees INTEGER NOT NULL, chosen BOOLEAN NOT NULL
);
CREATE TABLE oddities (
    recording_id VARCHAR NOT NULL, stream_id INTEGER, code VARCHAR NOT NULL, detail VARCHAR NOT NULL,
    start_us BIGINT, stop_us BIGINT
);
CREATE TABLE turns (
    recording_id VARCHAR NOT NULL, turn_id VARCHAR NOT NULL, speaker VARCHAR NOT NULL,
    start_us BIGINT NOT NULL, stop_us BIGINT NOT NULL
);
CREATE TABLE words (
    recording_id VARCHAR NOT NULL, word_id VARCHAR NOT NULL, position INTEGER NOT NULL, speaker VARCHAR NOT NULL,
    start_us BIGINT, stop_us BIGINT, text VARCHAR NOT NULL, after VARCHAR NOT NULL,
    timing word_timing NOT NULL, confidence DOUBLE
);
CREATE TABLE cues (
    recording_id VARCHAR NOT NULL, cue_id VARCHAR NOT NULL, label cue_label NOT NULL, kind VARCHAR NOT NULL,
    speaker VARCHAR, start_us BIGINT NOT NULL, stop_us BIGINT NOT NULL, confidence DOUBLE NOT NULL,
    origin VARCHAR NOT NULL, evidence JSON NOT NULL,
    spans STRUCT(role VARCHAR, start_us BIGINT, stop_us BIGINT)[] NOT NULL
);
CREATE TABLE events (
    recording_id VARCHAR NOT NULL, event_id VARCHAR NOT NULL, label VARCHAR NOT NULL, kind VARCHAR NOT NULL,
    speaker VARCHAR, start_us BIGINT NOT NULL, stop_us BIGINT NOT NULL, origin VARCHAR NOT NULL,
    payload JSON NOT NULL
);
CREATE TABLE drops (
    drop_id INTEGER NOT NULL, item VARCHAR NOT NULL, stage VARCHAR NOT NULL, kind drop_kind NOT NULL,
    code VARCHAR NOT NULL, reason VARCHAR NOT NULL, start_us BIGINT, stop_us BIGINT, count BIGINT NOT NULL
);
CREATE TABLE runs (
    run_id INTEGER NOT NULL, version VARCHAR NOT NULL, config VARCHAR NOT NULL, settings JSON NOT NULL,
    started_at_us BIGINT, stopped_at_us BIGINT, num_workers INTEGER
);

CREATE VIEW overlapping_turns AS
SELECT a.recording_id, a.speaker AS speaker, b.speaker AS other,
       greatest(a.start_us, b.start_us) AS start_us, least(a.stop_us, b.stop_us) AS stop_us
FROM turns a JOIN turns b
  ON a.recording_id = b.recording_id AND a.speaker < b.speaker
 AND a.start_us < b.stop_us AND b.start_us < a.stop_us;

CREATE VIEW speech_by_speaker AS
WITH numbered AS (
    SELECT *, max(stop_us) OVER (PARTITION BY recording_id, speaker ORDER BY start_us, stop_us
                                 ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS until_us
    FROM turns
)
SELECT recording_id, speaker, count(*) AS turns,
       CAST(sum(greatest(stop_us - greatest(start_us, coalesce(until_us, start_us)), 0)) AS BIGINT) AS speech_us
FROM numbered GROUP BY recording_id, speaker ORDER BY recording_id, speaker;

CREATE VIEW transcripts AS
SELECT recording_id, t.turn_id, t.speaker, t.start_us, t.stop_us,
       (SELECT string_agg(w.text || w.after, ' ' ORDER BY w.position) FROM words w
        WHERE w.recording_id = t.recording_id AND w.speaker = t.speaker
          AND w.start_us >= t.start_us AND w.start_us < t.stop_us) AS text
FROM turns t;

COMMENT ON TABLE schema_version IS 'Version of these tables';
COMMENT ON TABLE recordings IS 'One row for each recording that is in the dataset';
COMMENT ON TABLE streams IS 'Audio and video streams of the recordings'' files';
COMMENT ON TABLE oddities IS 'What a careful reader would want to know of a stream or recording';
COMMENT ON TABLE turns IS 'Who talks when; turns of different speakers may overlap';
COMMENT ON TABLE words IS 'What was said; times are null where they are unknown';
COMMENT ON TABLE cues IS 'Labelled spans of the conversation';
COMMENT ON TABLE events IS 'Anything else on the clock';
COMMENT ON TABLE drops IS 'What was left out, and why';
COMMENT ON TABLE runs IS 'The builds that wrote this catalog, oldest first';
COMMENT ON VIEW overlapping_turns IS 'Two speakers'' turns where both talk; with three talking, one row for each pair';
COMMENT ON VIEW speech_by_speaker IS 'Time each speaker talks, overlapping turns of one speaker counted once';
COMMENT ON VIEW transcripts IS 'Each turn with the words that start in it';
COMMENT ON COLUMN recordings.recording_id IS 'Content hash, 64 hex digits; ids of turns, words and cues are unique within it';
COMMENT ON COLUMN recordings.speakers IS 'In order of first speech';
COMMENT ON COLUMN recordings.named_speakers IS 'People known by name; only these bind recordings in a split';
COMMENT ON COLUMN recordings.sidecars IS 'Annotation files that were used in place of models';
COMMENT ON COLUMN streams.offset_us IS 'First presentation time minus the recording''s zero';
COMMENT ON COLUMN streams.rate IS 'Samples or frames per second, an exact fraction';
COMMENT ON COLUMN words.after IS 'Punctuation behind the word, where the source keeps it apart';
COMMENT ON COLUMN cues.confidence IS 'In [0, 1]';
COMMENT ON COLUMN cues.evidence IS 'Thresholds and measurements behind the label';
COMMENT ON COLUMN cues.origin IS 'Labeler and version, annotator, or file';
COMMENT ON COLUMN drops.kind IS 'trim is expected; fault puts the item in quarantine';
COMMENT ON COLUMN drops.count IS 'How many like things this stands for';
