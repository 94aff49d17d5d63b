"""Put what follows from the recorded runs into ``book/record.json``.

``make record`` runs it after new runs were recorded. The notebooks whose
claims have changed then have to be executed again.
"""

import json
from dataclasses import asdict, replace

from alexnet.bookkit.claims import claims, judge, judge_tiny_imagenet
from alexnet.bookkit.findings import FINDINGS, finding
from alexnet.bookkit.paths import RECORD
from alexnet.bookkit.tiny_imagenet import TINY_FINDINGS


def fill(text: str) -> str:
    """Fill in figure, verdict and size of each measured claim.

    Args:
        text: of the record.

    Returns:
        The text of the record that follows from the runs.
    """
    rows = json.loads(text)["claims"]
    for name, claim in claims().items():
        if name in FINDINGS:
            found = finding(name, claim.measured.looks)
            verdict, size = judge(claim, found)
            rows[name] |= {
                "ours": found.ours,
                "verdict": verdict,
                "size": size,
            }
        if name in TINY_FINDINGS:
            looks = claim.tiny_imagenet.looks if claim.tiny_imagenet else 1
            result = judge_tiny_imagenet(name, looks)
            rows[name]["tiny_imagenet"] = result and asdict(result)
            if name not in FINDINGS:
                verdict, size = judge(replace(claim, tiny_imagenet=result))
                rows[name] |= {"verdict": verdict, "size": size}
    begin = '"claims": {\n'
    start = text.index(begin) + len(begin)
    end = text.index("\n },", start)
    lines = [
        f'  "{name}": {json.dumps(row, ensure_ascii=False)}'
        for name, row in rows.items()
    ]
    return text[:start] + ",\n".join(lines) + text[end:]


if __name__ == "__main__":
    RECORD.write_text(
        fill(RECORD.read_text(encoding="utf-8")), encoding="utf-8"
    )
