"""The method as pure functions over plain numbers.

Knows scores, rankings, confidences and pairs. Must not know models, token encodings, files, the database or the
interface. One module per step, in the order of the pipeline: aggregation, agreement, confidence, pairing, loss; and
statistics for what is reported about them.
"""
