"""A study: arms x seeds x budgets, executed, gathered into tables and reported."""
