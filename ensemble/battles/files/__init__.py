"""Files to raw rows, whatever they are packed in: no word of what the columns mean."""
