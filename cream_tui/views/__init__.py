"""What the screens show, worked out without Textual: filters, orders, groups, deltas, progress."""
