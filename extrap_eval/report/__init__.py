"""A report that people open: one page of HTML with curves, outcomes and every trace.

``build.write_report`` makes it from scored runs. The page holds an index (what every sample amounts to at every budget,
computed here by the rules of ``scoring``, so that the page only looks it up) and the traces in chunks: within the page
while they are small, in a folder beside it otherwise. Nothing is loaded from a network, and what a model or a dataset
wrote reaches the page as text only: as data that scripts put into text nodes, or through a template that escapes.

``text``       bytes of a completion to what a browser counts
``index``      samples at every budget, as arrays
``traces``     one completion with its boxes and episodes; what was asked of it afterwards
``chunks``     traces compressed in pieces that a page from file:// can load
``overview``   sentences, tables, figures, settings
``page``       the template, the scripts, the style and the library that typesets mathematics, put together
``build``      all of it
"""
