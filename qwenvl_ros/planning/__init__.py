"""Facts for planners, made from scenes alone."""
