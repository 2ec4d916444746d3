"""Views, questions and leaderboards over a catalog."""
