/* The smallest program that prints; with an argument, also what of it is resident, in KiB. */
#include <stdio.h>
#include <string.h>

int main(int count, char **arguments) {
    (void)arguments;
    puts("hello");
    if (count < 2) return 0;
    char line[256];
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, "Rss:", 4)) fputs(line, stdout);
    return 0;
}
