"""The shapes of events, kept in a file of the user's repository, compared with the code and with what is stored."""
