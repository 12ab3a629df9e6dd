"""What is on the wire: the Avro schemas, and the way between bytes and columns. Knows no Kafka and no registry."""
