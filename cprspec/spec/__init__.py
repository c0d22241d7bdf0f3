"""The language of experiments: from TOML to a frozen resolved experiment, or every problem at once. No torch."""
