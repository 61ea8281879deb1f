"""Chest X-ray, clinical note and record -> COVID-19 or not: 160 training and 46 test rows, disjoint patients.

Small and unbalanced, and models learn the hospital as much as the disease: research use only, read the interval.

Command:   python -m recipes cxr
Data:      github:ieee8023/covid-chestxray-dataset, the state of 2020-06-22 as in the fork
           github:hida6/covid-chestxray-dataset (licence of each picture in its column;
           metadata CC BY-NC-SA 4.0); disease words of the notes masked.
Time:      2 minutes at most. Hardware, score, deviation over 3 seeds: see docs/benchmarks.md.
"""

from __future__ import annotations

from recipes import Recipe

RECIPES = (
    Recipe(
        name="cxr",
        pack="cxr_clinical",
        label="label",
        fields=("image", "clinical_notes_masked", "age", "sex", "view", "temperature", "pO2_saturation", "offset"),
        repository="github:hida6/covid-chestxray-dataset",
        group="patientid",
        minutes=1.9,
        measure="roc_auc",
        aims=(0.83,),
    ),
)
