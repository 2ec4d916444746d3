"""Who runs tasks: processes of this machine or Ray actors, with one schedule and one retry
policy."""
