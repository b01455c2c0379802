"""Does burned-in text drive a prediction? Interventions, nulls, verdicts, confounds."""
