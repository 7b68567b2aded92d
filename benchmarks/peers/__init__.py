"""The same work done by others. What a contender imports needs torch and torchvision only, never tlkit."""
