"""What Timbres keeps in AWS: secrets, tables, bucket, queue, bus. One module each."""
