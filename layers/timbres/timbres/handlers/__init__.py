"""Code that the Lambda entry points share: HTTP, problem details, schedules, dependencies."""
