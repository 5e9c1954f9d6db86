CREATE TABLE new_sampled_prompt (
  sampled_prompt_id INTEGER PRIMARY KEY,
  stage_id INTEGER NOT NULL REFERENCES stage (stage_id) ON DELETE CASCADE,
  prompt_id TEXT NOT NULL REFERENCES prompt (prompt_id),
  position INTEGER NOT NULL,
  token_ids_json TEXT,
  skip_reason TEXT,
  UNIQUE (stage_id, prompt_id)
);
INSERT INTO new_sampled_prompt SELECT * FROM sampled_prompt;
DROP TABLE sampled_prompt;
ALTER TABLE new_sampled_prompt RENAME TO sampled_prompt;

CREATE TABLE new_response (
  response_id INTEGER PRIMARY KEY,
  stage_id INTEGER NOT NULL REFERENCES stage (stage_id) ON DELETE CASCADE,
  prompt_id TEXT NOT NULL REFERENCES prompt (prompt_id),
  k INTEGER NOT NULL,
  text TEXT NOT NULL,
  token_ids_json TEXT,
  finish_reason TEXT CHECK (finish_reason IN ('end', 'length')),
  n_tokens INTEGER,
  sampled_logprob REAL,
  extracted TEXT,
  correct INTEGER CHECK (correct IN (0, 1)),
  UNIQUE (stage_id, prompt_id, k)
);
INSERT INTO new_response SELECT * FROM response;
DROP TABLE response;
ALTER TABLE new_response RENAME TO response;
