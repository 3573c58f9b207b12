"""Write a.csv, b.csv and c.csv: the building blocks of coursekit's own three-cycle library.

Everyday reagents, spelled out as scaffolds and substituents so that a reader sees at a glance what
the library is made of. Nothing is taken from another library's tables.

    python data/blocks/make_blocks.py        # writes beside this file
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

Block = tuple[str, str]  # name, SMILES

SUBSTITUENTS = {
    "fluoro": "F",
    "chloro": "Cl",
    "bromo": "Br",
    "methyl": "C",
    "ethyl": "CC",
    "isopropyl": "C(C)C",
    "tert-butyl": "C(C)(C)C",
    "trifluoromethyl": "C(F)(F)F",
    "methoxy": "OC",
    "ethoxy": "OCC",
    "trifluoromethoxy": "OC(F)(F)F",
    "difluoromethoxy": "OC(F)F",
    "cyano": "C#N",
    "dimethylamino": "N(C)C",
    "methylsulfonyl": "S(C)(=O)=O",
    "acetamido": "NC(C)=O",
    "phenyl": "c9ccccc9",
    "phenoxy": "Oc9ccccc9",
    "morpholino": "N9CCOCC9",
    "cyclopropyl": "C9CC9",
}

# Substituents by ring position; what each series of benzenes below picks from.
PLAIN = ""
BENZOIC = [
    PLAIN, "2-fluoro", "3-fluoro", "4-fluoro", "2-chloro", "3-chloro", "4-chloro", "3-bromo",
    "4-bromo", "2-methyl", "3-methyl", "4-methyl", "2-methoxy", "3-methoxy", "4-methoxy",
    "2-trifluoromethyl", "3-trifluoromethyl", "4-trifluoromethyl", "3-cyano", "4-cyano",
    "3-trifluoromethoxy", "4-trifluoromethoxy", "4-difluoromethoxy", "4-ethyl", "4-isopropyl",
    "4-tert-butyl", "4-ethoxy", "3-dimethylamino", "4-dimethylamino", "3-methylsulfonyl",
    "4-methylsulfonyl", "3-acetamido", "4-acetamido", "3-phenyl", "4-phenyl", "3-phenoxy",
    "4-phenoxy", "4-morpholino", "3-morpholino", "4-cyclopropyl", "2,3-fluoro", "2,4-fluoro",
    "2,6-fluoro", "3,4-fluoro", "3,5-fluoro", "2,4-chloro", "3,4-chloro", "3,5-chloro",
    "3,4-methoxy", "3,5-methoxy", "3,5-methyl", "3,4-methyl", "3,5-trifluoromethyl",
    "3-chloro 4-fluoro", "4-chloro 3-fluoro", "2-chloro 4-fluoro", "2-fluoro 4-trifluoromethyl",
    "3-fluoro 5-trifluoromethyl", "4-fluoro 3-methyl", "3-fluoro 4-methyl", "4-fluoro 3-methoxy",
    "3-chloro 4-methoxy", "4-chloro 3-trifluoromethyl", "4-fluoro 3-trifluoromethyl",
    "3-fluoro 4-morpholino",
]  # fmt: skip
ARYLACETIC = [
    PLAIN, "2-fluoro", "3-fluoro", "4-fluoro", "2-chloro", "3-chloro", "4-chloro", "4-methyl",
    "3-methoxy", "4-methoxy", "3-trifluoromethyl", "4-trifluoromethyl", "4-phenyl", "2,4-fluoro",
    "3,4-fluoro", "3,4-chloro", "4-trifluoromethoxy", "3,4-methoxy",
]  # fmt: skip
SHORT = [PLAIN, "4-fluoro", "3-chloro", "4-methoxy", "3-trifluoromethyl", "3,4-fluoro"]
BENZALDEHYDE = [
    PLAIN, "2-fluoro", "3-fluoro", "4-fluoro", "2-chloro", "3-chloro", "4-chloro", "3-bromo",
    "4-methyl", "3-methoxy", "4-methoxy", "3-trifluoromethyl", "4-trifluoromethyl", "3-cyano",
    "4-cyano", "4-isopropyl", "4-trifluoromethoxy", "4-phenyl", "3-phenoxy", "4-dimethylamino",
    "4-morpholino", "2,4-fluoro", "3,4-fluoro", "3,5-fluoro", "3,4-chloro", "2,4-chloro",
    "3,4-methoxy", "3-chloro 4-fluoro", "4-fluoro 3-methyl", "3,5-trifluoromethyl",
]  # fmt: skip
SULFONYL = [
    PLAIN, "2-fluoro", "3-fluoro", "4-fluoro", "3-chloro", "4-chloro", "4-methyl", "4-methoxy",
    "3-trifluoromethyl", "4-trifluoromethyl", "4-cyano", "4-trifluoromethoxy", "4-acetamido",
    "4-phenyl", "3,4-fluoro", "3,4-chloro", "2,4-fluoro", "3,4-methoxy", "3-chloro 4-fluoro",
    "4-tert-butyl",
]  # fmt: skip
ISOCYANATE = [
    PLAIN, "2-fluoro", "3-fluoro", "4-fluoro", "3-chloro", "4-chloro", "4-methyl", "4-methoxy",
    "3-trifluoromethyl", "4-trifluoromethyl", "4-cyano", "3,4-chloro", "3,4-fluoro",
    "3-chloro 4-fluoro", "4-trifluoromethoxy", "4-phenoxy",
]  # fmt: skip

# (name, ring system as an aryl group whose first atom carries the bond): used in A, B and C
HETEROARYLS = {
    "pyridin-2-yl": "c1ccccn1",
    "pyridin-3-yl": "c1cccnc1",
    "pyridin-4-yl": "c1ccncc1",
    "2-aminopyridin-4-yl": "c1ccnc(N)c1",
    "6-methoxypyridin-3-yl": "c1ccc(OC)nc1",
    "6-(trifluoromethyl)pyridin-3-yl": "c1ccc(C(F)(F)F)nc1",
    "5-chloropyridin-2-yl": "c1ccc(Cl)cn1",
    "pyrimidin-5-yl": "c1cncnc1",
    "2-aminopyrimidin-5-yl": "c1cnc(N)nc1",
    "pyrazin-2-yl": "c1cnccn1",
    "pyridazin-4-yl": "c1ccnnc1",
    "1H-pyrazol-4-yl": "c1cn[nH]c1",
    "1H-pyrazol-3-yl": "c1cc[nH]n1",
    "1-methylpyrazol-4-yl": "c1cnn(C)c1",
    "1-methylpyrazol-3-yl": "c1ccn(C)n1",
    "3,5-dimethylisoxazol-4-yl": "c1c(C)noc1C",
    "isoxazol-5-yl": "c1ccno1",
    "oxazol-4-yl": "c1cocn1",
    "1,3-thiazol-4-yl": "c1cscn1",
    "1,3-thiazol-5-yl": "c1cncs1",
    "2-methylthiazol-4-yl": "c1csc(C)n1",
    "1H-imidazol-4-yl": "c1c[nH]cn1",
    "1-methylimidazol-2-yl": "c1nccn1C",
    "thiophen-2-yl": "c1cccs1",
    "thiophen-3-yl": "c1ccsc1",
    "5-chlorothiophen-2-yl": "c1ccc(Cl)s1",
    "furan-2-yl": "c1ccco1",
    "furan-3-yl": "c1ccoc1",
    "1H-indol-3-yl": "c1c[nH]c2ccccc12",
    "1H-indol-2-yl": "c1cc2ccccc2[nH]1",
    "1H-indol-5-yl": "c1ccc2[nH]ccc2c1",
    "1H-indol-6-yl": "c1ccc2cc[nH]c2c1",
    "1H-indazol-3-yl": "c1n[nH]c2ccccc12",
    "1H-indazol-5-yl": "c1ccc2[nH]ncc2c1",
    "1H-indazol-6-yl": "c1ccc2cn[nH]c2c1",
    "1H-benzimidazol-5-yl": "c1ccc2nc[nH]c2c1",
    "1H-pyrrolo[2,3-b]pyridin-5-yl": "c1cnc2[nH]ccc2c1",
    "1H-pyrrolo[2,3-b]pyridin-3-yl": "c1c[nH]c2ncccc12",
    "1H-pyrazolo[3,4-b]pyridin-5-yl": "c1cnc2[nH]ncc2c1",
    "imidazo[1,2-a]pyridin-6-yl": "c1ccc2nccn2c1",
    "imidazo[1,2-a]pyridin-2-yl": "c1cn2ccccc2n1",
    "pyrazolo[1,5-a]pyrimidin-3-yl": "c1cnn2cccnc12",
    "benzofuran-2-yl": "c1cc2ccccc2o1",
    "benzothiophen-2-yl": "c1cc2ccccc2s1",
    "1,3-benzothiazol-6-yl": "c1ccc2ncsc2c1",
    "1,3-benzodioxol-5-yl": "c1ccc2OCOc2c1",
    "quinolin-2-yl": "c1ccc2ccccc2n1",
    "quinolin-3-yl": "c1cnc2ccccc2c1",
    "quinolin-6-yl": "c1ccc2ncccc2c1",
    "isoquinolin-6-yl": "c1ccc2cnccc2c1",
    "quinoxalin-6-yl": "c1ccc2nccnc2c1",
    "quinazolin-6-yl": "c1ccc2ncncc2c1",
    "naphthalen-2-yl": "c1ccc2ccccc2c1",
    "naphthalen-1-yl": "c1cccc2ccccc12",
}
# Hydrogen-bonding pairs that a kinase hinge would recognize, and look-alikes that it would not.
HINGE_LIKE = [
    "pyridin-4-yl", "pyridin-3-yl", "2-aminopyrimidin-5-yl", "2-aminopyridin-4-yl",
    "1H-pyrazol-4-yl", "1H-indazol-5-yl", "1H-indazol-6-yl", "1H-pyrrolo[2,3-b]pyridin-5-yl",
    "1H-pyrazolo[3,4-b]pyridin-5-yl", "imidazo[1,2-a]pyridin-6-yl", "quinazolin-6-yl",
    "1H-benzimidazol-5-yl",
]  # fmt: skip
PLAIN_RINGS = [
    "furan-3-yl", "thiophen-2-yl", "3,5-dimethylisoxazol-4-yl", "1H-indol-5-yl",
    "1,3-benzodioxol-5-yl", "1-methylpyrazol-3-yl", "naphthalen-2-yl", "2-methylthiazol-4-yl",
]  # fmt: skip


def benzene(pattern: str) -> tuple[str, str]:
    """A phenyl group whose first atom carries the bond, from "3-chloro 4-fluoro" or "3,4-fluoro".

    Returns:
        Its name ("3-chloro-4-fluorophenyl") and its SMILES.
    """
    at: dict[int, str] = {}
    words = []
    for word in pattern.split():
        locants, substituent = word.split("-", 1)
        positions = [int(p) for p in locants.split(",")]
        at.update(dict.fromkeys(positions, SUBSTITUENTS[substituent]))
        words.append(f"{locants}-{'di' if len(positions) == 2 else ''}{substituent}")
    atoms = "".join(f"c({at[p]})" if p in at else "c" for p in range(2, 6))
    last = f"c1{at[6]}" if 6 in at else "c1"
    return "-".join(words) + "phenyl", "c1" + atoms + last


def ring(smiles: str, used: str) -> str:
    """The same ring with its closure digits moved up, so that it fits inside ``used``."""
    offset = max((int(d) for d in used if d.isdigit()), default=0)
    return "".join(str(int(ch) + offset) if ch in "123" else ch for ch in smiles)


def cycle_a() -> Iterator[Block]:
    """Amines with an N-methylcarboxamide, the stub of the bond to DNA."""
    side_chains = {
        "3-pyridylalanine": "Cc1cccnc1",
        "4-pyridylalanine": "Cc1ccncc1",
        "2-pyridylalanine": "Cc1ccccn1",
        "4-thiazolylalanine": "Cc1cscn1",
        "2-thienylalanine": "Cc1cccs1",
        "1-methylhistidine": "Cc1cn(C)cn1",
        "4-pyrazolylalanine": "Cc1cn[nH]c1",
        "indazol-5-ylalanine": "Cc1ccc2[nH]ncc2c1",
        "7-azatryptophan": "Cc1c[nH]c2ncccc12",
        "5-fluorotryptophan": "Cc1c[nH]c2ccc(F)cc12",
        "tryptophan": "Cc1c[nH]c2ccccc12",
        "3-benzothienylalanine": "Cc1csc2ccccc12",
        "quinolin-3-ylalanine": "Cc1cnc2ccccc2c1",
        "1-naphthylalanine": "Cc1cccc2ccccc12",
        "2-naphthylalanine": "Cc1ccc2ccccc2c1",
        "phenylalanine": "Cc1ccccc1",
        "4-fluorophenylalanine": "Cc1ccc(F)cc1",
        "3-chlorophenylalanine": "Cc1cccc(Cl)c1",
        "4-cyanophenylalanine": "Cc1ccc(C#N)cc1",
        "4-(trifluoromethyl)phenylalanine": "Cc1ccc(C(F)(F)F)cc1",
        "3,4-difluorophenylalanine": "Cc1ccc(F)c(F)c1",
        "O-methyltyrosine": "Cc1ccc(OC)cc1",
        "4-phenylphenylalanine": "Cc1ccc(-c2ccccc2)cc1",
        "4-(pyridin-4-yl)phenylalanine": "Cc1ccc(-c2ccncc2)cc1",
        "4-(pyrazol-4-yl)phenylalanine": "Cc1ccc(-c2cn[nH]c2)cc1",
        "homophenylalanine": "CCc1ccccc1",
        "O-benzylserine": "COCc1ccccc1",
        "cyclohexylalanine": "CC1CCCCC1",
        "cyclopropylalanine": "CC1CC1",
        "tetrahydropyran-4-ylglycine": "C1CCOCC1",
        "tert-butylalanine": "CC(C)(C)C",
    }
    for name, side in side_chains.items():
        yield f"L-{name} N-methylamide", f"CNC(=O)[C@H]({side})N"
        yield f"D-{name} N-methylamide", f"CNC(=O)[C@@H]({side})N"

    for name in HINGE_LIKE + PLAIN_RINGS:
        acyl = f"C(=O){HETEROARYLS[name]}"
        yield f"N2-({name}carbonyl)-L-Dap N-methylamide", f"CNC(=O)[C@H](CN)N{acyl}"
        yield f"N2-({name}carbonyl)-D-Dap N-methylamide", f"CNC(=O)[C@@H](CN)N{acyl}"
    for name in HINGE_LIKE[:8] + PLAIN_RINGS[:5]:
        acyl = f"C(=O){HETEROARYLS[name]}"
        yield f"N2-({name}carbonyl)-L-Dab N-methylamide", f"CNC(=O)[C@H](CCN)N{acyl}"
    for name in HINGE_LIKE[2:10] + PLAIN_RINGS[2:6]:
        acyl = f"C(=O){HETEROARYLS[name]}"
        yield f"N3-({name}carbonyl)-L-Dap N-methylamide", f"CNC(=O)[C@H](CN{acyl})N"

    for name in ["pyridin-4-yl", "pyridin-3-yl", "1H-pyrazol-4-yl", "2-aminopyrimidin-5-yl",
                 "1-methylpyrazol-4-yl", "thiophen-3-yl", "furan-3-yl"]:  # fmt: skip
        aryl = ring(HETEROARYLS[name], "1")
        yield f"3-(aminomethyl)-5-({name})-N-methylbenzamide", f"CNC(=O)c1cc(CN)cc(-{aryl})c1"
        yield f"4-({name})-N-methylpiperidine-4-carboxamide", f"CNC(=O)C1(-{aryl})CCNCC1"
    for name in ["pyrimidin-5-yl", "pyridin-4-yl", "pyridin-2-yl", "pyrazin-2-yl"]:
        aryl = ring(HETEROARYLS[name], "1")
        yield f"(S)-4-({name})piperazine-2-carboxamide", f"CNC(=O)[C@@H]1CN({aryl})CCN1"
        yield f"(R)-4-({name})piperazine-2-carboxamide", f"CNC(=O)[C@H]1CN({aryl})CCN1"

    yield from {
        "4-(aminomethyl)-N-methylbenzamide": "CNC(=O)c1ccc(CN)cc1",
        "3-(aminomethyl)-N-methylbenzamide": "CNC(=O)c1cccc(CN)c1",
        "4-(aminomethyl)-3-fluoro-N-methylbenzamide": "CNC(=O)c1ccc(CN)c(F)c1",
        "4-(aminomethyl)-2-chloro-N-methylbenzamide": "CNC(=O)c1ccc(CN)cc1Cl",
        "3-(aminomethyl)-4-methoxy-N-methylbenzamide": "CNC(=O)c1ccc(OC)c(CN)c1",
        "5-(aminomethyl)-N-methylnicotinamide": "CNC(=O)c1cncc(CN)c1",
        "6-(aminomethyl)-N-methylnicotinamide": "CNC(=O)c1ccc(CN)nc1",
        "2-(aminomethyl)-N-methylthiazole-4-carboxamide": "CNC(=O)c1csc(CN)n1",
        "5-(aminomethyl)-N-methylthiophene-2-carboxamide": "CNC(=O)c1ccc(CN)s1",
        "5-(aminomethyl)-N-methyl-1H-indole-2-carboxamide": "CNC(=O)c1cc2cc(CN)ccc2[nH]1",
        "5-(aminomethyl)-N-methyl-1H-indazole-3-carboxamide": "CNC(=O)c1n[nH]c2ccc(CN)cc12",
        "5-amino-N-methyl-1H-indazole-3-carboxamide": "CNC(=O)c1n[nH]c2ccc(N)cc12",
        "3-amino-4-methyl-N-methylbenzamide": "CNC(=O)c1ccc(C)c(N)c1",
        "3-amino-4-fluoro-N-methylbenzamide": "CNC(=O)c1ccc(F)c(N)c1",
        "4-amino-3-methoxy-N-methylbenzamide": "CNC(=O)c1ccc(N)c(OC)c1",
        "3-(aminomethyl)-N-methyl-1-phenylpyrazole-4-carboxamide": "CNC(=O)c1cn(-c2ccccc2)nc1CN",
        "(S)-N-methylnipecotamide": "CNC(=O)[C@H]1CCCNC1",
        "(R)-N-methylnipecotamide": "CNC(=O)[C@@H]1CCCNC1",
        "N-methylisonipecotamide": "CNC(=O)C1CCNCC1",
        "(S)-N-methylmorpholine-2-carboxamide": "CNC(=O)[C@@H]1CNCCO1",
        "(R)-N-methylmorpholine-2-carboxamide": "CNC(=O)[C@H]1CNCCO1",
        "trans-4-phenyl-N-methylpyrrolidine-3-carboxamide": "CNC(=O)[C@H]1CNC[C@@H]1c1ccccc1",
        "trans-4-(4-pyridyl)-N-methylpyrrolidine-3-carboxamide":
            "CNC(=O)[C@H]1CNC[C@@H]1c1ccncc1",
        "(3S)-1,2,3,4-tetrahydroisoquinoline-3-carboxamide": "CNC(=O)[C@@H]1Cc2ccccc2CN1",
        "(3R)-1,2,3,4-tetrahydroisoquinoline-3-carboxamide": "CNC(=O)[C@H]1Cc2ccccc2CN1",
        "(4R)-4-phenoxy-L-proline N-methylamide": "CNC(=O)[C@@H]1C[C@@H](Oc2ccccc2)CN1",
        "(4R)-4-(pyridin-4-yloxy)-L-proline N-methylamide":
            "CNC(=O)[C@@H]1C[C@@H](Oc2ccncc2)CN1",
        "(4S)-4-(pyridin-3-yloxy)-L-proline N-methylamide": "CNC(=O)[C@@H]1C[C@H](Oc2cccnc2)CN1",
        "6-azaspiro[3.4]octane-8-carboxamide": "CNC(=O)C1CNCC12CCC2",
        "7-azaspiro[3.5]nonane-2-carboxamide": "CNC(=O)C1CC2(C1)CCNCC2",
        "tetrahydro-1,6-naphthyridine-2-carboxamide": "CNC(=O)c1ccc2c(n1)CCNC2",
        "tetrahydropyrazolo[1,5-a]pyrazine-2-carboxamide": "CNC(=O)c1cc2n(n1)CCNC2",
        "trans-4-(aminomethyl)cyclohexanecarboxamide": "CNC(=O)[C@H]1CC[C@H](CN)CC1",
    }.items()  # fmt: skip


def cycle_b() -> Iterator[Block]:
    """Caps: carboxylic acids, aldehydes, sulfonyl chlorides and isocyanates."""
    for pattern in BENZOIC:
        name, aryl = benzene(pattern)
        yield f"{name}carboxylic acid", f"OC(=O){aryl}"
    for pattern in ARYLACETIC:
        name, aryl = benzene(pattern)
        yield f"({name})acetic acid", f"OC(=O)C{aryl}"
    for pattern in SHORT:
        name, aryl = benzene(pattern)
        yield f"3-({name})propanoic acid", f"OC(=O)CC{aryl}"
        yield f"(E)-3-({name})acrylic acid", f"OC(=O)/C=C/{aryl}"
        yield f"({name.replace('phenyl', 'phenoxy')})acetic acid", f"OC(=O)CO{aryl}"
        yield f"trans-2-({name})cyclopropanecarboxylic acid", (f"OC(=O)[C@@H]8C[C@H]8{aryl}")
        yield f"1-({name})cyclopropanecarboxylic acid", f"OC(=O)C8(CC8){aryl}"
        yield f"5-({name})isoxazole-3-carboxylic acid", f"OC(=O)c8cc(on8)-{aryl}"
        yield f"2-({name})thiazole-4-carboxylic acid", f"OC(=O)c8csc(n8)-{aryl}"
        yield f"1-({name})pyrazole-4-carboxylic acid", f"OC(=O)c8cnn(c8)-{aryl}"
        yield (
            f"(R)-1-({name})-5-oxopyrrolidine-3-carboxylic acid",
            (f"OC(=O)[C@@H]8CC(=O)N(C8){aryl}"),
        )
    for name, aryl in HETEROARYLS.items():
        yield f"{name}carboxylic acid", f"OC(=O){aryl}"
    for name in [
        "pyridin-3-yl", "pyridin-4-yl", "thiophen-3-yl", "1H-indol-3-yl", "1H-pyrazol-4-yl",
        "3,5-dimethylisoxazol-4-yl", "1,3-benzodioxol-5-yl", "naphthalen-1-yl",
        "2-methylthiazol-4-yl",
    ]:  # fmt: skip
        yield f"({name})acetic acid", f"OC(=O)C{HETEROARYLS[name]}"
    for name in [
        "pyridin-3-yl", "pyridin-4-yl", "pyrimidin-5-yl", "1H-pyrazol-4-yl", "1-methylpyrazol-4-yl",
        "furan-2-yl", "thiophen-3-yl", "3,5-dimethylisoxazol-4-yl",
    ]:  # fmt: skip
        aryl = ring(HETEROARYLS[name], "1")
        yield f"4-({name})benzoic acid", f"OC(=O)c1ccc(cc1)-{aryl}"
        yield f"3-({name})benzoic acid", f"OC(=O)c1cccc(c1)-{aryl}"
    yield from {
        "cyclopropanecarboxylic acid": "OC(=O)C1CC1",
        "cyclobutanecarboxylic acid": "OC(=O)C1CCC1",
        "cyclohexanecarboxylic acid": "OC(=O)C1CCCCC1",
        "4,4-difluorocyclohexanecarboxylic acid": "OC(=O)C1CCC(F)(F)CC1",
        "trans-4-methylcyclohexanecarboxylic acid": "OC(=O)[C@H]1CC[C@H](C)CC1",
        "cycloheptanecarboxylic acid": "OC(=O)C1CCCCCC1",
        "adamantane-1-carboxylic acid": "OC(=O)C12CC3CC(CC(C3)C1)C2",
        "bicyclo[2.2.2]octane-1-carboxylic acid": "OC(=O)C12CCC(CC1)CC2",
        "tetrahydropyran-4-carboxylic acid": "OC(=O)C1CCOCC1",
        "(S)-tetrahydrofuran-2-carboxylic acid": "OC(=O)[C@@H]1CCCO1",
        "(R)-tetrahydrofuran-3-carboxylic acid": "OC(=O)[C@@H]1CCOC1",
        "oxetane-3-carboxylic acid": "OC(=O)C1COC1",
        "1-acetylpiperidine-4-carboxylic acid": "OC(=O)C1CCN(CC1)C(C)=O",
        "1-(methylsulfonyl)piperidine-4-carboxylic acid": "OC(=O)C1CCN(CC1)S(C)(=O)=O",
        "1-phenylpiperidine-4-carboxylic acid": "OC(=O)C1CCN(CC1)c1ccccc1",
        "1-(pyrimidin-2-yl)piperidine-4-carboxylic acid": "OC(=O)C1CCN(CC1)c1ncccn1",
        "cyclopentylacetic acid": "OC(=O)CC1CCCC1",
        "cyclohexylacetic acid": "OC(=O)CC1CCCCC1",
        "3,3-dimethylbutanoic acid": "OC(=O)CC(C)(C)C",
        "pivalic acid": "OC(=O)C(C)(C)C",
        "4-methylpentanoic acid": "OC(=O)CCC(C)C",
        "hexanoic acid": "OC(=O)CCCCC",
        "5-hexynoic acid": "OC(=O)CCCC#C",
        "3-methoxypropanoic acid": "OC(=O)CCOC",
        "4,4,4-trifluorobutanoic acid": "OC(=O)CCC(F)(F)F",
        "morpholin-4-ylacetic acid": "OC(=O)CN1CCOCC1",
        "(2-oxopyrrolidin-1-yl)acetic acid": "OC(=O)CN1CCCC1=O",
        "5-oxo-L-proline": "OC(=O)[C@@H]1CCC(=O)N1",
        "chroman-3-carboxylic acid": "OC(=O)C1COc2ccccc2C1",
        "indane-2-carboxylic acid": "OC(=O)C1Cc2ccccc2C1",
        "2,3-dihydrobenzofuran-5-carboxylic acid": "OC(=O)c1ccc2OCCc2c1",
        "2,3-dihydro-1,4-benzodioxine-6-carboxylic acid": "OC(=O)c1ccc2OCCOc2c1",
        "2-oxo-1,2-dihydropyridine-4-carboxylic acid": "OC(=O)c1cc[nH]c(=O)c1",
        "(S)-2-phenylpropanoic acid": "OC(=O)[C@@H](C)c1ccccc1",
        "(S)-naproxen": "OC(=O)[C@@H](C)c1ccc2cc(OC)ccc2c1",
        "diphenylacetic acid": "OC(=O)C(c1ccccc1)c1ccccc1",
        "4-(1H-tetrazol-1-yl)benzoic acid": "OC(=O)c1ccc(cc1)-n1cnnn1",
        "4-(1,2,4-triazol-1-yl)benzoic acid": "OC(=O)c1ccc(cc1)-n1cncn1",
        "3-(2-oxopyrrolidin-1-yl)benzoic acid": "OC(=O)c1cccc(c1)N1CCCC1=O",
        "4-sulfamoylbenzoic acid": "OC(=O)c1ccc(cc1)S(N)(=O)=O",
        "3-ethynylbenzoic acid": "OC(=O)c1cccc(C#C)c1",
        "6-chloroimidazo[1,2-b]pyridazine-2-carboxylic acid": "OC(=O)c1cn2nc(Cl)ccc2n1",
    }.items()

    for pattern in BENZALDEHYDE:
        name, aryl = benzene(pattern)
        yield f"{name}carbaldehyde", f"O=C{aryl}"
    for name in [
        "pyridin-2-yl", "pyridin-3-yl", "pyridin-4-yl", "6-methoxypyridin-3-yl", "pyrimidin-5-yl",
        "1H-pyrazol-4-yl", "1-methylpyrazol-4-yl", "1,3-thiazol-5-yl", "1-methylimidazol-2-yl",
        "thiophen-2-yl", "thiophen-3-yl", "5-chlorothiophen-2-yl", "furan-3-yl", "1H-indol-3-yl",
        "1H-indazol-5-yl", "imidazo[1,2-a]pyridin-6-yl", "benzofuran-2-yl", "benzothiophen-2-yl",
        "1,3-benzodioxol-5-yl", "quinolin-3-yl", "quinolin-6-yl", "naphthalen-2-yl",
        "naphthalen-1-yl", "3,5-dimethylisoxazol-4-yl",
    ]:  # fmt: skip
        yield f"{name}carbaldehyde", f"O=C{HETEROARYLS[name]}"
    yield from {
        "cyclopropanecarbaldehyde": "O=CC1CC1",
        "cyclohexanecarbaldehyde": "O=CC1CCCCC1",
        "tetrahydropyran-4-carbaldehyde": "O=CC1CCOCC1",
        "3-methylbutanal": "O=CCC(C)C",
        "3-phenylpropanal": "O=CCCc1ccccc1",
        "phenylacetaldehyde": "O=CCc1ccccc1",
        "4-(pyridin-4-yl)benzaldehyde": "O=Cc1ccc(cc1)-c1ccncc1",
        "4-(pyrazol-1-yl)benzaldehyde": "O=Cc1ccc(cc1)-n1cccn1",
        "2-phenylthiazole-5-carbaldehyde": "O=Cc1cnc(s1)-c1ccccc1",
    }.items()

    for pattern in SULFONYL:
        name, aryl = benzene(pattern)
        yield f"{name}sulfonyl chloride", f"ClS(=O)(=O){aryl}"
    for name in [
        "pyridin-3-yl", "1-methylpyrazol-4-yl", "3,5-dimethylisoxazol-4-yl", "thiophen-2-yl",
        "5-chlorothiophen-2-yl", "naphthalen-2-yl", "benzothiophen-2-yl", "1,3-benzodioxol-5-yl",
    ]:  # fmt: skip
        yield f"{name}sulfonyl chloride", f"ClS(=O)(=O){HETEROARYLS[name]}"
    yield "methanesulfonyl chloride", "ClS(C)(=O)=O"
    yield "cyclopropanesulfonyl chloride", "ClS(=O)(=O)C1CC1"
    yield "phenylmethanesulfonyl chloride", "ClS(=O)(=O)Cc1ccccc1"
    for pattern in ISOCYANATE:
        name, aryl = benzene(pattern)
        yield f"{name} isocyanate", f"O=C=N{aryl}"
    yield "benzyl isocyanate", "O=C=NCc1ccccc1"
    yield "cyclohexyl isocyanate", "O=C=NC1CCCCC1"
    yield "tert-butyl isocyanate", "O=C=NC(C)(C)C"
    yield "naphthalen-1-yl isocyanate", "O=C=Nc1cccc2ccccc12"


FMOC = "C(=O)OCC7c5ccccc5-c5ccccc75"
BOC = "C(=O)OC(C)(C)C"


def cycle_c() -> Iterator[Block]:
    """Amino acids with one protected amine: the middle of the molecule.

    In the SMILES below ``P`` stands for the protecting group.
    """
    mirrored = {  # both hands of each; written once
        "Pro": "OC(=O)[C@@H]1CCCNP1",
        "Pip": "OC(=O)[C@@H]1CCCCNP1",
        "Aze": "OC(=O)[C@@H]1CCNP1",
        "Tic": "OC(=O)[C@@H]1Cc2ccccc2CNP1",
        "Nip": "OC(=O)[C@H]1CCCNPC1",
        "pyrrolidine-3-carboxylic acid": "OC(=O)[C@H]1CCNPC1",
        "morpholine-2-carboxylic acid": "OC(=O)[C@@H]1CNPCCO1",
        "trans-4-phenyl-beta-proline": "OC(=O)[C@H]1CNPC[C@@H]1c1ccccc1",
        "trans-4-(4-fluorophenyl)-beta-proline": "OC(=O)[C@H]1CNPC[C@@H]1c1ccc(F)cc1",
        "trans-4-hydroxyproline benzyl ether": "OC(=O)[C@@H]1C[C@@H](OCc2ccccc2)CNP1",
        "trans-4-phenoxyproline": "OC(=O)[C@@H]1C[C@@H](Oc2ccccc2)CNP1",
        "cis-4-fluoroproline": "OC(=O)[C@@H]1C[C@H](F)CNP1",
        "cis-4-acetamidoproline": "OC(=O)[C@@H]1C[C@H](NC(C)=O)CNP1",
        "cis-4-benzamidoproline": "OC(=O)[C@@H]1C[C@H](NC(=O)c2ccccc2)CNP1",
        "cis-4-(pyrazol-4-ylcarbonylamino)proline": "OC(=O)[C@@H]1C[C@H](NC(=O)c2cn[nH]c2)CNP1",
        "trans-4-(methylsulfonylamino)proline": "OC(=O)[C@@H]1C[C@@H](NS(C)(=O)=O)CNP1",
        "octahydroindole-2-carboxylic acid": "OC(=O)[C@@H]1C[C@@H]2CCCC[C@@H]2NP1",
        "2-azabicyclo[3.1.0]hexane-3-carboxylic acid": "OC(=O)[C@@H]1C[C@@H]2C[C@@H]2NP1",
        "4-acetylpiperazine-2-carboxylic acid": "OC(=O)[C@@H]1CN(C(C)=O)CCNP1",
        "4-benzoylpiperazine-2-carboxylic acid": "OC(=O)[C@@H]1CN(C(=O)c2ccccc2)CCNP1",
        "Phe": "OC(=O)[C@H](Cc1ccccc1)NHP",
        "3-pyridylalanine": "OC(=O)[C@H](Cc1cccnc1)NHP",
        "Trp": "OC(=O)[C@H](Cc1c[nH]c2ccccc12)NHP",
        "Leu": "OC(=O)[C@H](CC(C)C)NHP",
        "cyclohexylglycine": "OC(=O)[C@H](C1CCCCC1)NHP",
        "Met": "OC(=O)[C@H](CCSC)NHP",
        "N3-acetyl-Dap": "OC(=O)[C@H](CNC(C)=O)NHP",
        "N3-benzoyl-Dap": "OC(=O)[C@H](CNC(=O)c1ccccc1)NHP",
        "beta-homophenylalanine": "OC(=O)C[C@H](Cc1ccccc1)NHP",
        "beta-phenylalanine": "OC(=O)C[C@@H](c1ccccc1)NHP",
        "cis-2-aminocyclopentanecarboxylic acid": "OC(=O)[C@@H]1CCC[C@@H]1NHP",
        "cis-3-aminocyclohexanecarboxylic acid": "OC(=O)[C@@H]1CCC[C@H](NHP)C1",
        "3-aminopiperidin-1-ylacetic acid": "OC(=O)CN1CCC[C@H](NHP)C1",
        "N-methyl-Phe": "OC(=O)[C@H](Cc1ccccc1)N(C)P",
    }
    for name, smiles in mirrored.items():
        for hand in (smiles, _mirror(smiles)):
            blocked, canonical = _protected(name, hand)
            yield f"({_descriptors(canonical)})-{blocked}", canonical
    for name, smiles in {
        "Gly": "OC(=O)CNHP",
        "beta-Ala": "OC(=O)CCNHP",
        "GABA": "OC(=O)CCCNHP",
        "Aib": "OC(=O)C(C)(C)NHP",
        "1-aminocyclopropanecarboxylic acid": "OC(=O)C1(CC1)NHP",
        "1-aminocyclohexanecarboxylic acid": "OC(=O)C1(CCCCC1)NHP",
        "4-aminotetrahydropyran-4-carboxylic acid": "OC(=O)C1(CCOCC1)NHP",
        "N-benzylglycine": "OC(=O)CN(Cc1ccccc1)P",
        "N-phenethylglycine": "OC(=O)CN(CCc1ccccc1)P",
        "N-isobutylglycine": "OC(=O)CN(CC(C)C)P",
        "N-cyclopropylglycine": "OC(=O)CN(C1CC1)P",
        "azetidine-3-carboxylic acid": "OC(=O)C1CNPC1",
        "isonipecotic acid": "OC(=O)C1CCNPCC1",
        "4-phenylpiperidine-4-carboxylic acid": "OC(=O)C1(CCNPCC1)c1ccccc1",
        "4-methylpiperidine-4-carboxylic acid": "OC(=O)C1(C)CCNPCC1",
        "piperidin-4-ylacetic acid": "OC(=O)CC1CCNPCC1",
        "4-aminopiperidin-1-ylacetic acid": "OC(=O)CN1CCC(CC1)NHP",
        "4-(piperazin-1-yl)benzoic acid": "OC(=O)c1ccc(cc1)N1CCNPCC1",
        "piperazin-1-ylacetic acid": "OC(=O)CN1CCNPCC1",
        "6-azaspiro[3.3]heptane-2-carboxylic acid": "OC(=O)C1CC2(C1)CNPC2",
        "7-azaspiro[3.5]nonane-2-carboxylic acid": "OC(=O)C1CC2(C1)CCNPCC2",
        "trans-4-aminocyclohexanecarboxylic acid": "OC(=O)[C@H]1CC[C@H](NHP)CC1",
        "cis-4-aminocyclohexanecarboxylic acid": "OC(=O)[C@H]1CC[C@@H](NHP)CC1",
        "trans-4-(aminomethyl)cyclohexanecarboxylic acid": "OC(=O)[C@H]1CC[C@H](CNHP)CC1",
        "4-(aminomethyl)benzoic acid": "OC(=O)c1ccc(CNHP)cc1",
        "3-(aminomethyl)benzoic acid": "OC(=O)c1cccc(CNHP)c1",
        "3-(aminomethyl)-4-fluorobenzoic acid": "OC(=O)c1ccc(F)c(CNHP)c1",
        "4-(aminomethyl)phenylacetic acid": "OC(=O)Cc1ccc(CNHP)cc1",
        "6-(aminomethyl)nicotinic acid": "OC(=O)c1ccc(CNHP)nc1",
        "5-(aminomethyl)thiophene-2-carboxylic acid": "OC(=O)c1ccc(CNHP)s1",
        "2-(aminomethyl)thiazole-4-carboxylic acid": "OC(=O)c1csc(CNHP)n1",
        "tetrahydroisoquinoline-6-carboxylic acid": "OC(=O)c1ccc2CNPCCc2c1",
        "tetrahydro-1,6-naphthyridine-2-carboxylic acid": "OC(=O)c1ccc2CNPCCc2n1",
        "tetrahydropyrazolo[1,5-a]pyrazine-2-carboxylic acid": "OC(=O)c1cc2CNPCCn2n1",
    }.items():
        yield _protected(name, smiles)


def _protected(name: str, smiles: str) -> Block:
    """Fmoc on primary amines, Boc on ring amines: the usual catalog form."""
    if "NHP" in smiles or ")P" in smiles:
        return f"Fmoc-{name}", smiles.replace("NHP", f"N{FMOC}").replace(")P", f"){FMOC}")
    return f"Boc-{name}", smiles.replace("NP", f"N({BOC})")


def _mirror(smiles: str) -> str:
    return smiles.replace("@@", "%").replace("@", "@@").replace("%", "@")


def _descriptors(smiles: str) -> str:
    """CIP labels in the order of the atoms, "S,R"."""
    from rdkit import Chem

    molecule = Chem.MolFromSmiles(smiles)
    return ",".join(
        label for _, label in Chem.FindMolChiralCenters(molecule, useLegacyImplementation=False)
    )


def write(folder: Path) -> None:
    """Write the three tables, canonical SMILES, one row a block.

    Raises:
        ValueError: if a block does not parse or occurs twice in its cycle.
    """
    from rdkit import Chem

    for cycle, blocks in {"a": cycle_a(), "b": cycle_b(), "c": cycle_c()}.items():
        seen: dict[str, str] = {}
        for name, smiles in blocks:
            molecule = Chem.MolFromSmiles(smiles)
            if molecule is None:
                raise ValueError(f"{name}: cannot read {smiles}")
            canonical = Chem.MolToSmiles(molecule)
            if canonical in seen:
                raise ValueError(f"{name} is {seen[canonical]} again: {canonical}")
            seen[canonical] = name
        with (folder / f"{cycle}.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["name", "smiles"])
            table.writerows((name, smiles) for smiles, name in seen.items())
        print(f"{cycle}.csv: {len(seen)} blocks")


if __name__ == "__main__":
    write(Path(__file__).resolve().parent)
