"""What the Python tests share: a server under test, a virtual environment, a count of checks."""
