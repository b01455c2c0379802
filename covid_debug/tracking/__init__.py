"""Where results are tracked: one protocol, MLflow or nothing behind it."""
