"""What the service shows of itself: metrics, health and logs."""
