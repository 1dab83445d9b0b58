"""Which class a trial belongs to: divisions, decoders of categories, measures of labels."""
