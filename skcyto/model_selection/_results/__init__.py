"""What a comparison found, and what is worked out from it: scores, tables, tests, curves.

`ComparisonData` holds the records of all folds; everything else here is a function of it. May
import `_statistics`, the splits and fixed predictions; knows no picture, page or fit.
"""
