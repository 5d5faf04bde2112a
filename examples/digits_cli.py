"""The digits under LightningCLI.

python examples/digits_cli.py fit --config configs/digits.yaml
"""

from lightning.pytorch.cli import LightningCLI

from digits_red_dot import DigitsData, DigitsModule

if __name__ == "__main__":
    LightningCLI(DigitsModule, DigitsData)
