"""The gateway's requests and answers: what every handler shares."""
