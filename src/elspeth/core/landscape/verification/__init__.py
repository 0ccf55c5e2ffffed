"""The verifier: reads an export back and reports every defect."""
