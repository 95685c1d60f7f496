"""What operators look at: logs, metrics, HTTP, how promptly the loop runs."""
