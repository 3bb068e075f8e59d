"""The core of Easel: people, jobs and rules; knows no chat platform and no tensor."""
