"""The program of docs/embedding/distributed.md, on two ranks."""

import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs/embedding/distributed.md"


class Distributed(unittest.TestCase):
    def test_the_page(self):
        page = PAGE.read_text()
        (program,) = re.findall(r"^```python\n(.*?)^```$", page, flags=re.S | re.M)
        (printed,) = re.findall(r"step.py` prints `(.*?)`", page)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "step.py")
            path.write_text(program)
            command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", path]
            run = subprocess.run(command, capture_output=True, text=True, timeout=300)
        self.assertEqual((run.returncode, run.stdout.strip()), (0, printed), run.stderr)


if __name__ == "__main__":
    unittest.main()
