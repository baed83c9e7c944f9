-- Version 2: the store has an id; views of cues_decided, cues_current and queue; views are read anew.
CREATE TABLE store (id VARCHAR NOT NULL);
INSERT INTO store VALUES (uuid()::VARCHAR);
COMMENT ON TABLE store IS 'Which store this is: a page keeps what it could not send yet for the one it is meant for.';
DROP VIEW disagreements;
DROP VIEW reviews_current;
UPDATE schema_version SET version = 2;
