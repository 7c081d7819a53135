"""One run from claim to verdict. No SQL, no HTTP: it decides what is read, stored and believed."""
