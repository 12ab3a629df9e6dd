"""What the service needs around it: embedded and real Kafka and Redis for development and tests, and their topics."""
