"""What the app is made of below its screens: keys, palette, themes, session, terminal, the link to the store."""
