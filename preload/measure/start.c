/* Microseconds from a program's start to its end, the median of many, in turns with and without a
   library: start PROGRAM LIBRARY... */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

enum { ROUNDS = 300 };

static int compare(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double run(char *program, const char *library) {
    char setting[4096];
    snprintf(setting, sizeof setting, "LD_PRELOAD=%s", library);
    char *environment[] = {setting, NULL}, *arguments[] = {program, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    struct timespec before, after;
    pid_t child;
    int status;
    clock_gettime(CLOCK_MONOTONIC, &before);
    if (posix_spawn(&child, program, &actions, NULL, arguments, environment)) exit(1);
    waitpid(child, &status, 0);
    clock_gettime(CLOCK_MONOTONIC, &after);
    posix_spawn_file_actions_destroy(&actions);
    if (status) exit(1);
    return (after.tv_sec - before.tv_sec) * 1e6 + (after.tv_nsec - before.tv_nsec) / 1e3;
}

int main(int count, char **arguments) {
    static double times[16][ROUNDS];
    if (count < 3 || count > 16) return 2;
    for (int round = 0; round < ROUNDS; round++)
        for (int index = 2; index < count; index++)
            times[index][round] = run(arguments[1], arguments[index]);
    for (int index = 2; index < count; index++) {
        qsort(times[index], ROUNDS, sizeof(double), compare);
        printf("%.0f\n", times[index][ROUNDS / 2]);
    }
    return 0;
}
