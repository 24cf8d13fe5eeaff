/* What the monitor understands. */
#pragma once

/* Runs one line; says what is wrong with it if anything is. */
void command_run(const char *line);
