"""What the functions' entry points share: HTTP, problem details, schedules, the container."""
