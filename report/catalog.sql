-- The catalog of a dataset. Times are integer microseconds on their recording's clock, spans half-open.
-- The large tables have no keys enforced by an index: it would have to fit in memory, and the writer
-- takes the ids from conversations in which they are unique.

CREATE TABLE schema_version (name VARCHAR NOT NULL, version INTEGER NOT NULL);
COMMENT ON TABLE schema_version IS 'Which form of the catalog this is.';

CREATE TABLE runs (
    run_id VARCHAR NOT NULL,
    settings JSON NOT NULL,
    versions JSON NOT NULL,
    recordings BIGINT NOT NULL,
    clips BIGINT NOT NULL,
    windows BIGINT NOT NULL
);
COMMENT ON TABLE runs IS 'The build that made the dataset: one row.';
COMMENT ON COLUMN runs.run_id IS 'Digest of the settings and of the versions of all stages.';
COMMENT ON COLUMN runs.settings IS 'All settings of the build, by table.';
COMMENT ON COLUMN runs.versions IS 'Version of each stage and of the libraries it uses.';

CREATE TABLE recordings (
    recording_id VARCHAR PRIMARY KEY,
    uri VARCHAR NOT NULL,
    split split_name NOT NULL,
    duration_us BIGINT NOT NULL,
    licence VARCHAR,
    consent VARCHAR,
    conversation_id VARCHAR,
    files INTEGER NOT NULL,
    bytes BIGINT NOT NULL,
    sidecars VARCHAR[] NOT NULL,
    speech_us BIGINT NOT NULL,
    overlap_us BIGINT NOT NULL,
    monologue_speaker VARCHAR,
    monologue_start_us BIGINT,
    monologue_stop_us BIGINT
);
COMMENT ON TABLE recordings IS 'Every recording that has clips in the dataset.';
COMMENT ON COLUMN recordings.recording_id IS 'Content hash, 64 hex digits.';
COMMENT ON COLUMN recordings.uri IS 'What the input list says, else the path relative to the given input.';
COMMENT ON COLUMN recordings.duration_us IS 'To the end of the longest stream used.';
COMMENT ON COLUMN recordings.conversation_id IS 'Recordings of one conversation stand on one side of a split.';
COMMENT ON COLUMN recordings.bytes IS 'Of the media files.';
COMMENT ON COLUMN recordings.sidecars IS 'Names of the annotation files that were used.';
COMMENT ON COLUMN recordings.speech_us IS 'Time in which anybody talks.';
COMMENT ON COLUMN recordings.overlap_us IS 'Time in which two or more talk.';
COMMENT ON COLUMN recordings.monologue_speaker IS 'Who has the longest stretch in which nobody else talks.';

CREATE TABLE streams (
    recording_id VARCHAR NOT NULL,
    stream_id INTEGER NOT NULL,
    file INTEGER NOT NULL,
    file_uri VARCHAR NOT NULL,
    kind stream_kind NOT NULL,
    codec VARCHAR NOT NULL,
    rate VARCHAR NOT NULL,
    offset_us BIGINT NOT NULL,
    duration_us BIGINT NOT NULL,
    channels INTEGER NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    rotation_degrees INTEGER NOT NULL,
    chosen BOOLEAN NOT NULL
);
COMMENT ON TABLE streams IS 'The audio and video streams of the recordings'' files, also those not used.';
COMMENT ON COLUMN streams.stream_id IS 'Position among all streams of its file.';
COMMENT ON COLUMN streams.file IS 'Position of its file in the recording, from 0.';
COMMENT ON COLUMN streams.rate IS 'Samples or average frames per second, an exact fraction.';
COMMENT ON COLUMN streams.offset_us IS 'First presentation time minus the recording''s zero.';
COMMENT ON COLUMN streams.chosen IS 'False for a stream that is listed but not used.';

CREATE TABLE oddities (
    recording_id VARCHAR NOT NULL,
    file INTEGER,
    stream_id INTEGER,
    code VARCHAR NOT NULL,
    detail VARCHAR NOT NULL,
    start_us BIGINT,
    stop_us BIGINT
);
COMMENT ON TABLE oddities IS 'What a careful reader would want to know of a stream, or of a recording as a whole.';
COMMENT ON COLUMN oddities.stream_id IS 'NULL where it concerns the whole recording.';

CREATE TABLE speakers (
    recording_id VARCHAR NOT NULL,
    speaker VARCHAR NOT NULL,
    channel INTEGER NOT NULL,
    named BOOLEAN NOT NULL,
    speech_us BIGINT NOT NULL,
    words BIGINT NOT NULL
);
COMMENT ON TABLE speakers IS 'The voices of each recording.';
COMMENT ON COLUMN speakers.speaker IS 'Local to the recording, unless named.';
COMMENT ON COLUMN speakers.channel IS 'Their channel in the clips, from 0; the room comes after the last.';
COMMENT ON COLUMN speakers.named IS 'The label is a person''s name beyond this recording and binds a split.';
COMMENT ON COLUMN speakers.speech_us IS 'Time covered by their turns.';

CREATE TABLE turns (
    recording_id VARCHAR NOT NULL,
    turn_id VARCHAR NOT NULL,
    speaker VARCHAR NOT NULL,
    start_us BIGINT NOT NULL,
    stop_us BIGINT NOT NULL,
    CHECK (start_us <= stop_us)
);
COMMENT ON TABLE turns IS 'Spans in which one speaker talks; those of different speakers may overlap.';

CREATE TABLE words (
    recording_id VARCHAR NOT NULL,
    word_id VARCHAR NOT NULL,
    speaker VARCHAR NOT NULL,
    start_us BIGINT,
    stop_us BIGINT,
    text VARCHAR NOT NULL,
    after VARCHAR NOT NULL,
    timing word_timing NOT NULL,
    confidence DOUBLE,
    CHECK (start_us <= stop_us)
);
COMMENT ON TABLE words IS 'What was said, word by word.';
COMMENT ON COLUMN words.start_us IS 'NULL where the time is unknown.';
COMMENT ON COLUMN words.after IS 'Punctuation written behind the word, where the source keeps it apart.';

CREATE TABLE cues (
    recording_id VARCHAR NOT NULL,
    cue_id VARCHAR NOT NULL,
    label cue_label NOT NULL,
    kind VARCHAR NOT NULL,
    speaker VARCHAR,
    start_us BIGINT NOT NULL,
    stop_us BIGINT NOT NULL,
    confidence DOUBLE NOT NULL,
    origin VARCHAR NOT NULL,
    partner VARCHAR,
    thresholds JSON NOT NULL,
    evidence JSON NOT NULL,
    spans STRUCT(role VARCHAR, start_us BIGINT, stop_us BIGINT)[] NOT NULL,
    CHECK (start_us <= stop_us),
    CHECK (confidence BETWEEN 0 AND 1)
);
COMMENT ON TABLE cues IS 'Labelled spans: what happens there in the conversation, who does it, who says so.';
COMMENT ON COLUMN cues.kind IS 'One of the label''s kinds; empty where the source names none.';
COMMENT ON COLUMN cues.origin IS 'Labeler and version, annotator, or file it came from.';
COMMENT ON COLUMN cues.partner IS 'The other person it is about; NULL where there is none.';
COMMENT ON COLUMN cues.thresholds IS 'The settings the label was made with.';
COMMENT ON COLUMN cues.evidence IS 'The measurements behind the label.';

CREATE TABLE answers (
    recording_id VARCHAR NOT NULL,
    answer_id VARCHAR NOT NULL,
    speaker VARCHAR,
    start_us BIGINT NOT NULL,
    stop_us BIGINT NOT NULL,
    action answer_action NOT NULL,
    why VARCHAR NOT NULL,
    answered_id VARCHAR NOT NULL,
    CHECK (start_us <= stop_us)
);
COMMENT ON TABLE answers IS 'When an answer to a cue or event is timely, or when keeping silent is right.';
COMMENT ON COLUMN answers.speaker IS 'Who may answer or is to wait; NULL for anybody but the cue''s speaker.';
COMMENT ON COLUMN answers.answered_id IS 'Id of the cue or event.';

CREATE TABLE labels_made (
    recording_id VARCHAR NOT NULL,
    label cue_label NOT NULL,
    made BOOLEAN NOT NULL,
    reason VARCHAR NOT NULL
);
COMMENT ON TABLE labels_made IS 'Which labels were looked for in a recording, and why the others were not.';

CREATE TABLE events (
    recording_id VARCHAR NOT NULL,
    event_id VARCHAR NOT NULL,
    label VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    speaker VARCHAR,
    start_us BIGINT NOT NULL,
    stop_us BIGINT NOT NULL,
    origin VARCHAR NOT NULL,
    payload JSON NOT NULL,
    CHECK (start_us <= stop_us)
);
COMMENT ON TABLE events IS 'Anything else on the clock: sounds, tool calls and results, timers, notes.';

CREATE TABLE units (
    recording_id VARCHAR NOT NULL,
    speaker VARCHAR NOT NULL,
    start_us BIGINT NOT NULL,
    stop_us BIGINT NOT NULL,
    CHECK (start_us < stop_us)
);
COMMENT ON TABLE units IS
    'Inter-pausal units: one speaker''s turns with silences up to cues.ipu_bridge_us closed.';

CREATE TABLE transitions (
    recording_id VARCHAR NOT NULL,
    kind transition_kind NOT NULL,
    from_speaker VARCHAR NOT NULL,
    to_speaker VARCHAR NOT NULL,
    start_us BIGINT NOT NULL,
    stop_us BIGINT NOT NULL,
    offset_us BIGINT,
    CHECK (start_us <= stop_us)
);
COMMENT ON TABLE transitions IS
    'What lies between one speaker alone and the next: pause, gap, overlap (Heldner & Edlund 2010).';
COMMENT ON COLUMN transitions.offset_us IS
    'Floor-transfer offset: a gap''s length, minus the length of an overlap with change of speaker, else NULL.';

CREATE TABLE drops (
    item VARCHAR NOT NULL,
    stage VARCHAR NOT NULL,
    kind drop_kind NOT NULL,
    code VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    start_us BIGINT,
    stop_us BIGINT,
    count BIGINT NOT NULL
);
COMMENT ON TABLE drops IS 'Everything left out, and why.';
COMMENT ON COLUMN drops.item IS 'Uri of a recording, or uri and place in it.';
COMMENT ON COLUMN drops.kind IS 'A trim is expected; a fault puts the item in quarantine.';
COMMENT ON COLUMN drops.count IS 'How many like things this stands for.';

CREATE VIEW overlapping_turns AS
SELECT a.recording_id, a.speaker, b.speaker AS other_speaker, a.turn_id, b.turn_id AS other_turn_id,
    greatest(a.start_us, b.start_us) AS start_us, least(a.stop_us, b.stop_us) AS stop_us
FROM turns a JOIN turns b
    ON a.recording_id = b.recording_id AND a.speaker < b.speaker
    AND a.start_us < b.stop_us AND b.start_us < a.stop_us;
COMMENT ON VIEW overlapping_turns IS 'Each pair of turns of two speakers that share time, once.';

CREATE VIEW speech_by_speaker AS
SELECT r.uri, s.recording_id, s.speaker, s.channel, s.named, s.speech_us,
    s.speech_us / nullif(r.duration_us, 0) AS share_of_recording,
    s.words, CASE WHEN s.words > 0 THEN s.words * 60e6 / nullif(s.speech_us, 0) END AS words_per_minute
FROM speakers s JOIN recordings r USING (recording_id);
COMMENT ON VIEW speech_by_speaker IS 'How much each voice talks, and how fast.';

CREATE VIEW cue_counts AS
SELECT label, kind, origin, count(*) AS cues, sum(stop_us - start_us)::BIGINT AS total_us
FROM cues GROUP BY ALL ORDER BY ALL;
COMMENT ON VIEW cue_counts IS 'How many cues of each label, kind and origin, and how long they are together.';

CREATE VIEW floor_transfers AS
SELECT r.uri, t.* FROM transitions t JOIN recordings r USING (recording_id) WHERE offset_us IS NOT NULL;
COMMENT ON VIEW floor_transfers IS 'Changes of speaker with their offsets.';

CREATE VIEW drop_counts AS
SELECT kind, stage, code, count(*) AS drops, sum(count)::BIGINT AS things, min(reason) AS example
FROM drops GROUP BY ALL ORDER BY ALL;
COMMENT ON VIEW drop_counts IS 'What was left out, by reason.';
