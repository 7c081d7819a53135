"""What the simulated offers say, as ready JSON string contents in two spellings.

PHP's `json_encode` escapes every non-ASCII letter and every slash; newer answers carry raw UTF-8.
Both come back from the marketplace, often on the same page, so both are kept here, already escaped.
"""

from __future__ import annotations

import json
from typing import NamedTuple

_PRODUCTS = (
    "Lampă de birou", "Fierăstrău electric", "Șurubelniță cu acumulator", "Husă piele ecologică",
    "Cană termică", "Rucsac școlar", "Mașină de tuns", "Ghiveci ceramică", "Încărcător rețea",
    "Covor țesut", "Pătură pufoasă", "Jucărie educativă", "Set 6 pahare", "Cutie depozitare",
)  # fmt: skip
_QUALITIES = (
    "reglabilă", "cu telecomandă", "din oțel inoxidabil", "pliabilă", "pentru copii", "ediție limitată",
    "impermeabilă", "eco", "gri închis", "albastru ș negru", "2 bucăți", "45 cm", "800 W", "cu garanție",
)  # fmt: skip
_BRANDS = ("Acme", "Măiestria", "Țesătorul", "Nordlicht", "O'Neal & Fiii", "Brașov Tools", "Ștrand", "Zürn")
_COLOURS = ("alb", "roșu", "galben", "verde măr", "negru", "argintiu", "bleu", 'lemn 1/2" fag')
_SENTENCES = (
    "<p>Produsul este fabricat în România, din materiale alese cu grijă și verificate bucată cu bucată.</p>",
    "<ul><li>Putere: 45 W</li><li>Lățime: 1,20 m</li><li>Greutate netă: 3,4 kg</li></ul>",
    "<p>Potrivit pentru casă, grădină și atelier &ndash; se curăță ușor cu o cârpă umedă.</p>",
    '<p style="text-align:center"><strong>Garanție 24 de luni</strong><br/>Retur gratuit în 30 de zile.</p>',
    "&lt;p&gt;Text codificat de două ori, așa cum îl trimit unii vânzători.&lt;/p&gt;",
    "<p>Atenție: a nu se lăsa la îndemâna copiilor sub 3 ani. Conține piese mici.</p>\r\n",
    "<table><tr><td>Dimensiuni</td><td>30 x 20 x 10 cm</td></tr><tr><td>Țara</td><td>RO</td></tr></table>",
    "<p>Ambalajul conține: produsul, manualul de utilizare și șuruburile pentru fixare.</p>",
    "<p>Eficiență energetică A++, consum anual estimat sub 12 kWh, nivel de zgomot 38 dB(A).</p>",
    '<div class="nota">Culorile pot diferi ușor față de fotografie; prețul nu include montajul.</div>',
    "<p>Țesătură rezistentă, cusături duble, fermoare metalice și buzunare interioare multiple.</p>",
    "<h3>De ce să-l alegi?</h3><p>Raport calitate/preț excelent și piese de schimb disponibile.</p>",
)


class Wording(NamedTuple):
    """Pools of JSON string contents (without the quotes) in one spelling; `slash` as that spelling writes it."""

    products: tuple[str, ...]
    qualities: tuple[str, ...]
    brands: tuple[str, ...]
    colours: tuple[str, ...]
    sentences: tuple[str, ...]
    slash: str


def _spelt(texts: tuple[str, ...], like_php: bool) -> tuple[str, ...]:
    contents = (json.dumps(text, ensure_ascii=like_php)[1:-1] for text in texts)
    return tuple(content.replace("/", "\\/") if like_php else content for content in contents)


def _wording(like_php: bool) -> Wording:
    pools = (_PRODUCTS, _QUALITIES, _BRANDS, _COLOURS, _SENTENCES)
    products, qualities, brands, colours, sentences = (_spelt(pool, like_php) for pool in pools)
    return Wording(products, qualities, brands, colours, sentences, "\\/" if like_php else "/")


RAW = _wording(like_php=False)
PHP = _wording(like_php=True)
