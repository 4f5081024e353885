"""Building blocks of pages that people read: safe HTML, charts as SVG, pictures as PNG. They know nothing of runs."""
