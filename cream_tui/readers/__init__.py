"""What the app and the command line read of the store, put together for one view each; runs in threads."""
