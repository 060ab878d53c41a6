"""Seeing what happened in a run: reports, charts, confusion matrices, samples and weights as pictures, plain text.

Nothing here knows models: every function takes plain arrays and values, so the results of any program can be shown.
"""

from ranvier.diagnose.charts import line_chart
from ranvier.diagnose.confusion import (
    ClassScore,
    Confusion,
    class_scores,
    confusion_counts,
    confusion_svg,
    most_confused,
)
from ranvier.diagnose.pictures import Example, diverging, grey_levels, image_grid, weight_pictures
from ranvier.diagnose.png import encode_png, png_data_uri
from ranvier.diagnose.report import LayerRow, RunReport, accuracy_interval, render_report, write_report
from ranvier.diagnose.text import confusion_text, image_text, print_table, table_text

__all__ = [
    "ClassScore",
    "Confusion",
    "Example",
    "LayerRow",
    "RunReport",
    "accuracy_interval",
    "class_scores",
    "confusion_counts",
    "confusion_svg",
    "confusion_text",
    "diverging",
    "encode_png",
    "grey_levels",
    "image_grid",
    "image_text",
    "line_chart",
    "most_confused",
    "png_data_uri",
    "print_table",
    "render_report",
    "table_text",
    "weight_pictures",
    "write_report",
]
