"""What touches the outside: Kafka, Redis, the schema registry."""
