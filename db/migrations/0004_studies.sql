CREATE TABLE study (
  study_id TEXT NOT NULL PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  config_json TEXT NOT NULL,
  jobs INTEGER NOT NULL,
  created_at REAL NOT NULL,
  finished_at REAL,
  stop_requested_at REAL,
  error TEXT
);

CREATE TABLE study_arm (
  study_id TEXT NOT NULL REFERENCES study (study_id) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  arm TEXT NOT NULL,
  method TEXT NOT NULL,
  seed INTEGER NOT NULL,
  run_name TEXT NOT NULL,
  config_json TEXT NOT NULL,
  run_id TEXT REFERENCES run (run_id) ON DELETE SET NULL,
  error TEXT,
  PRIMARY KEY (study_id, position)
);
CREATE INDEX study_arm_by_run ON study_arm (run_id);

CREATE TABLE study_lease (
  study_id TEXT NOT NULL PRIMARY KEY REFERENCES study (study_id) ON DELETE CASCADE,
  token TEXT NOT NULL,
  pid INTEGER NOT NULL,
  pid_started_at REAL NOT NULL,
  host TEXT NOT NULL,
  heartbeat_at REAL NOT NULL
);
