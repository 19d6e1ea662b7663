"""A run told for people: `story` reads the journal, `data` is what a report holds, `page` renders it as HTML."""
