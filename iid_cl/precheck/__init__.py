"""Before a run: does it fit the data, what would it do, and how long would it take."""
