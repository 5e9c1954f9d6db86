"""The torch side: models, sampling, log-probs, training. Knows no database."""
