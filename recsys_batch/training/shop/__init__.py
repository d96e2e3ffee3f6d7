"""The shop's own tasks: from exported examples and the configuration to a finished, measured model; no JVM."""
