"""What a task is: texts, label names and a metric. Nothing here knows of heads or models."""
