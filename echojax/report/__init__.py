"""Plots, overlay videos and the HTML page: what a person looks at after a run.

`plots` and `curves` make figures, `style` saves them as PNG and SVG, `overlay` paints contours on clips,
`contact_sheet` shows the best and worst cases, `page` puts it all on one page that opens from disk.
"""
