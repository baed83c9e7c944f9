-- labels.duckdb: what annotators decided. Rows are added, never changed; only the review server writes.
CREATE TABLE schema_version (name VARCHAR NOT NULL, version INTEGER NOT NULL);
INSERT INTO schema_version VALUES ('corpus.labels', 2);

CREATE TABLE store (id VARCHAR NOT NULL);
INSERT INTO store VALUES (uuid()::VARCHAR);
COMMENT ON TABLE store IS 'Which store this is: a page keeps what it could not send yet for the one it is meant for.';

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
