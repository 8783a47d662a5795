
#endif /* SURPRISAL_TOOLS_H */
